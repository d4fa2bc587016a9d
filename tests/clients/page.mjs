// The list of behaviours in a browser, with the very modules that the dashboard uses.
import * as library from "/static/dashboard/client/index.js";
import { behaviours } from "/tests/behaviours.mjs";

export const run = (restarted) => behaviours({ library, url: location.origin, restarted });
