/** What the product sends, as docs/http-api.md and docs/websocket.md have it. Ignore fields you do not know. */
export {};
