export { PriceClient, PriceError, type Asking, type ClientOptions } from "./rest.js";
export { PriceStream, State, type Listener, type Socket, type SocketConstructor, type StreamEvents, type StreamOptions, type Subscription, } from "./stream.js";
export type * from "./types.js";
