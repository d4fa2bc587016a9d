// Before anything is painted: dark or light as chosen here, else as the system says.
try {
  const chosen = JSON.parse(localStorage.getItem("lokifi.theme"));
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  document.documentElement.removeAttribute("data-theme");
}
