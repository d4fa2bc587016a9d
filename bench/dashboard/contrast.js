// The contrast of every text that is seen, by the colours the browser computed: WCAG 2.2, AA.
// Evaluated in a page; returns [{text, ratio, needed, where}], the weakest first.
() => {
  const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });

  // Whatever notation a colour has: red, green, blue of 0 to 255, and how opaque it is.
  function rgba(css) {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = css;
    pen.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  }

  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);

  function ratio(front, back) {
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  }

  // What stands behind an element: its own ground and its parents', down to the page's.
  function ground(element) {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((back, layer) => over(layer, back), rgba("Canvas"));
  }

  function isSeen(element) {
    const { width, height } = element.getBoundingClientRect();
    const isThere = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    return isThere && width > 1 && height > 1 && !element.closest(".unseen, :disabled");
  }

  const where = (element) => `${element.tagName.toLowerCase()}${element.className && typeof element.className === "string"
    ? `.${element.className.trim().replaceAll(/\s+/g, ".")}` : ""}`;

  function judged(element, text, color, needed = null) {
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const back = ground(element);
    return { text, where: where(element), needed: needed ?? (isLarge ? 3 : 4.5), ratio: ratio(over(rgba(color), back), back) };
  }

  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (text && isSeen(element)) found.push(judged(element, text.slice(0, 40), getComputedStyle(element).color));
  }
  for (const field of document.querySelectorAll("input, select")) {
    if (!isSeen(field)) continue;
    if (field.placeholder && !field.value) {
      found.push(judged(field, `placeholder ${field.placeholder}`, getComputedStyle(field, "::placeholder").color));
    }
    // A field is known by its edge alone.
    found.push(judged(field, "edge", getComputedStyle(field).borderTopColor, 3));
  }
  for (const line of document.querySelectorAll(".spark, .mark, .dot")) {
    const style = getComputedStyle(line);
    if (isSeen(line)) found.push(judged(line.parentElement, where(line), line.matches(".spark") ? style.color : style.backgroundColor, 3));
  }
  return found.sort((a, b) => a.ratio / a.needed - b.ratio / b.needed);
}
