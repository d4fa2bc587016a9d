"""The sandbox's stocks: real US tickers, names and exchanges, at plausible levels.

Prices are dollars of about late 2026, after every split. One stock has a split of
the sandbox's own making, so that adjusted and unadjusted bars differ within a year.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache, lru_cache

EXCHANGES = {
    "XNAS": "NASDAQ NMS - GLOBAL MARKET",
    "XNYS": "NEW YORK STOCK EXCHANGE, INC.",
    "ARCX": "NYSE ARCA",
    "OOTC": "OTC MARKETS",
}


@dataclass(frozen=True, slots=True)
class Split:
    """`ratio` new shares for one old, from the opening of the session on `day`."""

    day: date
    ratio: float


@dataclass(frozen=True, slots=True)
class Renaming:
    """The stock traded as `old` until the day before `day`."""

    old: str
    day: date


@dataclass(frozen=True, slots=True)
class Stock:
    """One stock. `shares` are millions outstanding, `listed` Unix seconds.

    `symbol` is the newest ticker; `last_day` the last day of trading of one that is gone.
    """

    symbol: str
    name: str
    mic: str
    kind: str
    industry: str
    price: float
    shares: float
    ipo: date
    daily_vol: float
    split: Split | None = None
    renamed: Renaming | None = None
    last_day: date | None = None

    @property
    def listed(self) -> int:
        return int(_midnight(self.ipo))

    @property
    def gone(self) -> float:
        """When its listing ends: the midnight, UTC, after its last day of trading."""
        return _midnight(self.last_day) + 86_400 if self.last_day else math.inf

    def ticker_at(self, when: float) -> str:
        """Return the ticker it trades under; a new one holds from midnight UTC of its day."""
        if self.renamed and when < _midnight(self.renamed.day):
            return self.renamed.old
        return self.symbol


# ticker, exchange (Q Nasdaq, N New York, P Arca, O over the counter), dollars, millions of
# shares, first trading day, industry, name; an industry of ETP or ADR is the kind of paper.
_STOCKS = """
AAPL Q 274 14687 1980-12-12 Technology Apple Inc
MSFT Q 508 7433 1986-03-13 Technology Microsoft Corp
NVDA Q 186 24300 1999-01-22 Semiconductors NVIDIA Corp
GOOGL Q 287 5820 2004-08-19 Media Alphabet Inc
GOOG Q 288 5410 2014-03-27 Media Alphabet Inc
AMZN Q 231 10690 1997-05-15 Retail Amazon.com Inc
META Q 642 2520 2012-05-18 Media Meta Platforms Inc
AVGO Q 352 4720 2009-08-06 Semiconductors Broadcom Inc
TSLA Q 421 3325 2010-06-29 Automobiles Tesla Inc
BRK.B N 506 1380 1996-05-09 Financial_Services Berkshire Hathaway Inc
BRK.A N 759000 0.52 1980-03-17 Financial_Services Berkshire Hathaway Inc
LLY N 1010 945 1978-01-13 Pharmaceuticals Eli Lilly & Co
JPM N 306 2720 1978-01-13 Banking JPMorgan Chase & Co
WMT N 103 7970 1972-08-25 Retail Walmart Inc
V N 338 1930 2008-03-19 Financial_Services Visa Inc
ORCL N 232 2850 1986-03-12 Technology Oracle Corp
MA N 547 904 2006-05-25 Financial_Services Mastercard Inc
XOM N 117 4260 1978-01-13 Energy Exxon Mobil Corp
NFLX Q 112 4240 2002-05-23 Media Netflix Inc
JNJ N 198 2410 1978-01-13 Pharmaceuticals Johnson & Johnson
COST Q 914 443 1985-12-05 Retail Costco Wholesale Corp
PLTR Q 171 2380 2020-09-30 Technology Palantir Technologies Inc
ABBV N 227 1767 2013-01-02 Biotechnology AbbVie Inc
BAC N 53 7400 1978-01-13 Banking Bank of America Corp
HD N 361 995 1981-09-22 Retail Home Depot Inc
AMD Q 221 1628 1983-03-21 Semiconductors Advanced Micro Devices Inc
PG N 149 2340 1978-01-13 Consumer_products Procter & Gamble Co
GE N 302 1055 1978-01-13 Aerospace_&_Defense General Electric Co
CVX N 153 2010 1978-01-13 Energy Chevron Corp
KO N 71.5 4300 1978-01-13 Beverages Coca-Cola Co
UNH N 323 906 1984-10-17 Health_Care UnitedHealth Group Inc
CSCO Q 77 3950 1990-02-16 Communications Cisco Systems Inc
IBM N 301 934 1978-01-13 Technology International Business Machines Corp
WFC N 84 3140 1978-01-13 Banking Wells Fargo & Co
CAT N 561 468 1978-01-13 Machinery Caterpillar Inc
MS N 166 1590 1993-02-23 Financial_Services Morgan Stanley
MU Q 221 1122 1984-06-01 Semiconductors Micron Technology Inc
AXP N 351 689 1978-01-13 Financial_Services American Express Co
CRM N 231 952 2004-06-23 Technology Salesforce Inc
PM N 155 1557 2008-03-17 Tobacco Philip Morris International Inc
GS N 791 300 1999-05-04 Financial_Services Goldman Sachs Group Inc
RTX N 172 1341 1978-01-13 Aerospace_&_Defense RTX Corp
TMUS Q 212 1119 2007-04-19 Telecommunication T-Mobile US Inc
ABT N 126 1740 1978-01-13 Health_Care Abbott Laboratories
MRK N 93 2480 1978-01-13 Pharmaceuticals Merck & Co Inc
MCD N 307 713 1978-01-13 Hotels_&_Restaurants McDonald's Corp
APP Q 561 338 2021-04-15 Technology AppLovin Corp
DIS N 108 1785 1978-01-13 Media Walt Disney Co
PEP Q 147 1368 1978-01-13 Beverages PepsiCo Inc
LIN Q 417 467 1992-06-17 Chemicals Linde PLC
UBER N 86 2078 2019-05-10 Road_&_Rail Uber Technologies Inc
QCOM Q 169 1071 1991-12-13 Semiconductors Qualcomm Inc
INTU Q 651 278 1993-03-12 Technology Intuit Inc
NOW N 168 1040 2012-06-29 Technology ServiceNow Inc
T N 25.7 7090 1983-11-21 Telecommunication AT&T Inc
VZ N 41.2 4217 1983-11-21 Telecommunication Verizon Communications Inc
BKNG Q 197 805 1999-03-30 Hotels_&_Restaurants Booking Holdings Inc
SCHW N 94 1777 1987-09-22 Financial_Services Charles Schwab Corp
TXN Q 161 909 1978-01-13 Semiconductors Texas Instruments Inc
BA N 187 760 1978-01-13 Aerospace_&_Defense Boeing Co
NEE N 84 2083 1978-01-13 Utilities NextEra Energy Inc
ISRG Q 562 355 2000-06-16 Health_Care Intuitive Surgical Inc
AMGN Q 336 538 1983-06-17 Biotechnology Amgen Inc
BLK N 1041 155 1999-10-01 Financial_Services BlackRock Inc
SPGI N 491 303 1978-01-13 Financial_Services S&P Global Inc
INTC Q 36.5 4770 1978-01-13 Semiconductors Intel Corp
ADBE Q 322 419 1986-08-13 Technology Adobe Inc
PFE N 25.1 5686 1978-01-13 Pharmaceuticals Pfizer Inc
LOW N 231 561 1978-01-13 Retail Lowe's Companies Inc
COIN Q 251 257 2021-04-14 Financial_Services Coinbase Global Inc
HOOD Q 112 889 2021-07-29 Financial_Services Robinhood Markets Inc
SBUX Q 84 1137 1992-06-26 Hotels_&_Restaurants Starbucks Corp
NKE N 63 1477 1980-12-02 Textiles Nike Inc
PANW Q 187 689 2012-07-20 Technology Palo Alto Networks Inc
ANET N 127 1259 2014-06-06 Communications Arista Networks Inc
CMCSA Q 27.1 3643 1978-01-13 Media Comcast Corp
LMT N 471 231 1978-01-13 Aerospace_&_Defense Lockheed Martin Corp
SHOP Q 151 1302 2015-05-21 Technology Shopify Inc
STX Q 262 213 2002-12-11 Technology Seagate Technology Holdings PLC
WDC Q 147 342 1978-10-31 Technology Western Digital Corp
DELL N 126 671 2018-12-28 Technology Dell Technologies Inc
MSTR Q 178 287 1998-06-11 Technology Strategy Inc
CRWD Q 507 251 2019-06-12 Technology CrowdStrike Holdings Inc
SNOW N 241 339 2020-09-16 Technology Snowflake Inc
ABNB Q 116 613 2020-12-10 Hotels_&_Restaurants Airbnb Inc
PYPL Q 61 935 2015-07-06 Financial_Services PayPal Holdings Inc
F N 13.1 3985 1978-01-13 Automobiles Ford Motor Co
GM N 71 933 2010-11-18 Automobiles General Motors Co
RIVN Q 15.2 1226 2021-11-10 Automobiles Rivian Automotive Inc
LCID Q 12.9 324 2021-07-26 Automobiles Lucid Group Inc
DAL N 59 653 2007-05-03 Airlines Delta Air Lines Inc
AAL Q 12.9 660 2013-12-09 Airlines American Airlines Group Inc
UPS N 95 848 1999-11-10 Logistics_&_Transportation United Parcel Service Inc
FDX N 271 235 1978-04-12 Logistics_&_Transportation FedEx Corp
GME N 20.5 447 2002-02-13 Retail GameStop Corp
AMC N 2.4 513 2013-12-18 Media AMC Entertainment Holdings Inc
RBLX N 94 696 2021-03-10 Media Roblox Corp
SOFI Q 26.3 1206 2021-06-01 Financial_Services SoFi Technologies Inc
ROKU Q 97 147 2017-09-28 Media Roku Inc
SPOT N 589 206 2018-04-03 Media Spotify Technology SA
ZM Q 81 298 2019-04-18 Technology Zoom Communications Inc
SMCI Q 34 597 2007-03-29 Technology Super Micro Computer Inc
ARM Q 136 1061 2023-09-14 ADR Arm Holdings PLC
TSM N 284 5186 1997-10-09 ADR Taiwan Semiconductor Manufacturing Co Ltd
BABA N 153 2385 2014-09-19 ADR Alibaba Group Holding Ltd
NVO N 48 4450 1981-04-30 ADR Novo Nordisk A/S
ASML Q 1009 388 1995-03-15 ADR ASML Holding NV
BF.B N 28.4 303 1978-01-13 Beverages Brown-Forman Corp
APLE N 11.8 237 2015-05-18 Real_Estate Apple Hospitality REIT Inc
AAPI O 0.21 204 2021-07-01 Media Apple iSports Group Inc
MLP N 15.6 19.7 1995-04-20 Real_Estate Maui Land & Pineapple Company Inc
TCEHY O 82 9180 2009-07-02 ADR Tencent Holdings Ltd
NSRGY O 99 2570 1996-12-10 ADR Nestle SA
SPY P 668 980 1993-01-29 ETP SPDR S&P 500 ETF Trust
QQQ Q 602 640 1999-03-10 ETP Invesco QQQ Trust Series 1
VOO P 612 1180 2010-09-09 ETP Vanguard S&P 500 ETF
IBIT Q 52 1390 2024-01-11 ETP iShares Bitcoin Trust ETF
GLD P 374 378 2004-11-18 ETP SPDR Gold Shares
TWTR N 101 765 2013-11-07 Media Twitter Inc
"""

# Listed elsewhere: /search finds them, every other request answers 403.
FOREIGN = (
    ("APC.DE", "Apple Inc", "apple"),
    ("AAPL.MX", "Apple Inc", "apple"),
    ("2788.T", "Apple International Co Ltd", "apple"),
    ("TL0.DE", "Tesla Inc", "tesla"),
    ("MSF.DE", "Microsoft Corp", "microsoft"),
    ("SHOP.TO", "Shopify Inc", "shopify"),
    ("SAP.DE", "SAP SE", "sap"),
    ("NESN.SW", "Nestle SA", "nestle"),
    ("0700.HK", "Tencent Holdings Ltd", "tencent"),
    ("BTC.V", "Bluesky Digital Assets Corp", "bitcoin"),
)

_MICS = {"Q": "XNAS", "N": "XNYS", "P": "ARCX", "O": "OOTC"}
_SPLITS = {"BKNG": Split(date(2026, 4, 6), 25.0)}
# Real events: Facebook's shares became META, Twitter was bought and left the exchange.
_RENAMED = {"META": Renaming("FB", date(2022, 6, 9))}
_LAST_DAYS = {"TWTR": date(2022, 10, 27)}
_LIVELY = "TSLA PLTR MSTR COIN HOOD GME AMC RIVN LCID APP SMCI SOFI RBLX ROKU MU"


@cache
def stocks() -> tuple[Stock, ...]:
    """Return every US stock that is or was listed, in the sandbox's own order."""
    return tuple(_stock(row) for row in _STOCKS.strip().splitlines())


@cache
def stock_by_symbol() -> dict[str, Stock]:
    return {stock.symbol: stock for stock in stocks()}


def listed_stocks(when: float) -> dict[str, Stock]:
    """Return the stocks that are listed at a time, by the ticker they have then."""
    return _listed_stocks(int(when // 86_400))


@lru_cache(maxsize=8)
def _listed_stocks(day: int) -> dict[str, Stock]:
    when = day * 86_400.0
    return {stock.ticker_at(when): stock for stock in stocks() if stock.listed <= when < stock.gone}


def _stock(row: str) -> Stock:
    symbol, exchange, price, shares, ipo, industry, name = row.split(maxsplit=6)
    return Stock(
        symbol=symbol,
        name=name,
        mic=_MICS[exchange],
        kind=industry if industry in ("ETP", "ADR") else "Common Stock",
        industry=industry.replace("_", " "),
        price=float(price),
        shares=float(shares),
        ipo=date.fromisoformat(ipo),
        daily_vol=_daily_vol(symbol, industry, exchange),
        split=_SPLITS.get(symbol),
        renamed=_RENAMED.get(symbol),
        last_day=_LAST_DAYS.get(symbol),
    )


def _daily_vol(symbol: str, industry: str, exchange: str) -> float:
    if industry == "ETP":
        return 0.026 if symbol == "IBIT" else 0.009
    if symbol in _LIVELY.split() or exchange == "O":
        return 0.031
    return 0.0145


def _midnight(day: date) -> float:
    return datetime.combine(day, datetime.min.time(), UTC).timestamp()
