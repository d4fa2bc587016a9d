export { PriceClient, PriceError } from "./rest.js";
export { PriceStream, State } from "./stream.js";
