"""A market of our own that answers like eight sources of prices, over HTTP.

    market, coins, stocks    what everything costs, at any time
    quotes, bars             what follows from it: caps, ranks, volumes, candles
    coingecko*, charts       CoinGecko's wire format
    finnhub                  Finnhub's wire format
    venues, trade            the exchanges' pairs, and what is traded on them
    coinbase, kraken, binance the exchanges' wire formats
    papers                   what sellers of stock data say of a stock
    twelvedata, tiingo, yahoo their wire formats
    sources                  all of these in a table
    faults, spoiling         what goes wrong on command
    limits, recorder         what plans allow, what was asked
    desk                     one sandbox: plan, clock, faults, counts; a request in, an answer out
    server                   sockets

Nothing here imports Django. `manage.py sandbox` serves it alone; in a test:

    with running() as sandbox:
        httpx.get(f"{sandbox.coingecko_url}/ping")

docs/sandbox.md has every path and control with an example.
"""

from __future__ import annotations
