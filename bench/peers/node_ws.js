// A peer on Node: the package `ws`, one process, no compression.
//   REDIS_PORT=6379 node node_ws.js PORT
// Listens to lokifi:price_updates. A client gets its symbols' last prices when it subscribes, and
// its share of every tick; each symbol is made into text once a tick.
'use strict';
const net = require('node:net');
const { WebSocketServer } = require('ws');

const subscribers = new Map();
let latest = new Map();
let latestHead = '"timestamp":"1970-01-01T00:00:00.000Z"';

function update(symbols, snapshot) {
  let text = '';
  let count = 0;
  for (const symbol of symbols) {
    const one = latest.get(symbol);
    if (one === undefined) continue;
    text += count++ ? ',' + one : one;
  }
  const mark = snapshot ? '"snapshot":true,' : '';
  return `{"type":"price_update",${mark}${latestHead},"count":${count},"data":{${text}}}`;
}

const server = new WebSocketServer({
  port: Number(process.argv[2]), host: '127.0.0.1', path: '/api/ws/prices', backlog: 4096,
  perMessageDeflate: false, clientTracking: false, skipUTF8Validation: true,
});
server.on('connection', (socket) => {
  socket.on('message', (message) => {
    const symbols = JSON.parse(message).symbols.sort();
    subscribers.set(socket, symbols);
    socket.send(JSON.stringify({ type: 'subscribed', symbols }));
    socket.send(update(symbols, true));
  });
  socket.on('close', () => subscribers.delete(socket));
  socket.on('error', () => subscribers.delete(socket));
});

function take(text) {
  const tick = JSON.parse(text);
  latestHead = `"epoch":"${tick.epoch}","seq":${tick.seq},"prev_seq":${tick.prev_seq},` +
    `"timestamp":"${tick.timestamp}"`;
  latest = new Map();
  for (const symbol in tick.data) {
    latest.set(symbol, `"${symbol}":${JSON.stringify(tick.data[symbol])}`);
  }
  for (const [socket, symbols] of subscribers) socket.send(update(symbols, false));
}

// As much of a Redis client as a subscription needs: *3, "message", channel, body.
const redis = net.connect(Number(process.env.REDIS_PORT), '127.0.0.1', () => {
  redis.write('SUBSCRIBE lokifi:price_updates\r\n');
});
let waiting = Buffer.alloc(0);
const BEGIN = Buffer.from('*3\r\n$7\r\nmessage\r\n$20\r\nlokifi:price_updates\r\n$');
redis.on('data', (data) => {
  waiting = Buffer.concat([waiting, data]);
  for (;;) {
    const at = waiting.indexOf(BEGIN);
    if (at < 0) return;
    const sizeAt = at + BEGIN.length;
    const bodyAt = waiting.indexOf('\r\n', sizeAt) + 2;
    if (bodyAt < 2) return;
    const end = bodyAt + Number(waiting.toString('latin1', sizeAt, bodyAt - 2));
    if (waiting.length < end + 2) return;
    take(waiting.toString('utf8', bodyAt, end));
    waiting = waiting.subarray(end + 2);
  }
});
