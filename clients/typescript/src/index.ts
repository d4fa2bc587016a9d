export { PriceClient, PriceError, type Asking, type ClientOptions } from "./rest.js";
export { PriceStream, State } from "./stream.js";
export type * from "./types.js";
