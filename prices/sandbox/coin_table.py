"""The sandbox's coins as text: real ids, tickers and names, at levels of about late 2026.

Prices and supplies are round figures that give each coin its scale. Rows of the first
table are in order of market capitalisation.
"""

from __future__ import annotations

# id, ticker, dollars, circulating supply, year of listing, name
RANKED = """
bitcoin btc 91500 19.95e6 2013.33 Bitcoin
ethereum eth 3150 120.7e6 2015.6 Ethereum
tether usdt 1 184e9 2015.15 Tether
ripple xrp 2.2 60.3e9 2013.6 XRP
binancecoin bnb 890 137.7e6 2017.7 BNB
solana sol 138 560e6 2020.27 Solana
usd-coin usdc 1 76e9 2018.76 USDC
tron trx 0.282 94.7e9 2017.86 TRON
staked-ether steth 3147 8.6e6 2020.98 Lido Staked Ether
dogecoin doge 0.151 152e9 2013.96 Dogecoin
cardano ada 0.425 36.5e9 2017.8 Cardano
wrapped-steth wsteth 3842 3.5e6 2021.2 Wrapped stETH
whitebit wbt 58.5 213e6 2022.6 WhiteBIT Coin
figure-heloc figr_heloc 1.02 11.9e9 2025.4 Figure Heloc
wrapped-bitcoin wbtc 91400 127e3 2019.08 Wrapped Bitcoin
hyperliquid hype 34.5 270e6 2024.92 Hyperliquid
bitcoin-cash bch 545 19.96e6 2017.58 Bitcoin Cash
wrapped-eeth weeth 3410 2.6e6 2024.1 Wrapped eETH
leo-token leo 9.4 922e6 2019.38 LEO Token
chainlink link 13.2 697e6 2017.85 Chainlink
ethena-usde usde 1 8.1e9 2024.1 Ethena USDe
stellar xlm 0.252 32.2e9 2014.6 Stellar
monero xmr 392 18.45e6 2014.4 Monero
coinbase-wrapped-btc cbbtc 91480 76e3 2024.7 Coinbase Wrapped BTC
weth weth 3149 2.2e6 2018.1 WETH
zcash zec 401 16.4e6 2016.83 Zcash
litecoin ltc 84.5 76.6e6 2013.33 Litecoin
hedera-hashgraph hbar 0.143 42.5e9 2019.72 Hedera
avalanche-2 avax 14.2 428e6 2020.72 Avalanche
sui sui 1.58 3.68e9 2023.34 Sui
dai dai 1 4.4e9 2019.88 Dai
shiba-inu shib 0.0000086 589e12 2020.6 Shiba Inu
susds susds 1.07 4.3e9 2024.8 sUSDS
the-open-network ton 1.6 2.46e9 2021.65 Toncoin
crypto-com-chain cro 0.107 37.2e9 2018.95 Cronos
polkadot dot 2.28 1.64e9 2020.63 Polkadot
uniswap uni 5.9 630e6 2020.72 Uniswap
mantle mnt 1.09 3.25e9 2023.54 Mantle
usds usds 1 8.9e9 2024.74 USDS
ethena-staked-usde susde 1.2 3.3e9 2024.1 Ethena Staked USDe
bitget-token bgb 3.6 696e6 2021.55 Bitget Token
bittensor tao 281 10.3e6 2023.18 Bittensor
near near 1.82 1.28e9 2020.79 NEAR Protocol
world-liberty-financial wlfi 0.152 24.6e9 2025.66 World Liberty Financial
canton-network cc 0.074 36e9 2025.85 Canton
paypal-usd pyusd 1 3.8e9 2023.6 PayPal USD
internet-computer icp 3.9 543e6 2021.36 Internet Computer
aave aave 178 15.2e6 2020.76 Aave
pepe pepe 0.0000046 420.69e12 2023.3 Pepe
okb okb 107 21e6 2019.33 OKB
ethereum-classic etc 13.3 154e6 2016.56 Ethereum Classic
memecore m 1.31 1.7e9 2025.5 MemeCore
jito-staked-sol jitosol 172 13e6 2022.9 Jito Staked SOL
aptos apt 1.9 735e6 2022.8 Aptos
tether-gold xaut 4080 375e3 2020.15 Tether Gold
ondo-finance ondo 0.484 3.16e9 2024.05 Ondo
pi-network pi 0.226 8.3e9 2025.14 Pi Network
kaspa kas 0.054 26.9e9 2022.5 Kaspa
rocket-pool-eth reth 3621 380e3 2021.9 Rocket Pool ETH
worldcoin-wld wld 0.612 2.3e9 2023.56 Worldcoin
polygon-ecosystem-token pol 0.133 10.5e9 2023.8 POL (ex-MATIC)
quant-network qnt 91.5 14.5e6 2018.6 Quant
pax-gold paxg 4085 330e3 2019.75 PAX Gold
usd1-wlfi usd1 1 2.7e9 2025.3 USD1
kucoin-shares kcs 10.9 130e6 2017.8 KuCoin
algorand algo 0.136 8.8e9 2019.47 Algorand
gatechain-token gt 10.4 115e6 2019.6 Gate
flare-networks flr 0.0137 79e9 2022.6 Flare
arbitrum arb 0.208 5.6e9 2023.22 Arbitrum
official-trump trump 5.9 200e6 2025.05 Official Trump
render-token render 1.71 518e6 2020.45 Render
cosmos atom 2.43 480e6 2019.2 Cosmos Hub
filecoin fil 1.58 715e6 2017.95 Filecoin
vechain vet 0.0126 86e9 2018.6 VeChain
ethena ena 0.263 7.4e9 2024.25 Ethena
nexo nexo 0.96 1e9 2018.33 NEXO
xdce-crowd-sale xdc 0.0495 17.9e9 2018.3 XDC Network
falcon-finance usdf 1 2.05e9 2025.1 Falcon USD
bonk bonk 0.0000096 82e12 2022.99 Bonk
story-2 ip 2.45 325e6 2025.12 Story
sei-network sei 0.134 6.3e9 2023.62 Sei
pump-fun pump 0.0029 354e9 2025.54 Pump.fun
pancakeswap-token cake 2.3 337e6 2020.74 PancakeSwap
jupiter-exchange-solana jup 0.241 3.1e9 2024.08 Jupiter
global-dollar usdg 1 1.3e9 2024.9 Global Dollar
ripple-usd rlusd 1 1.02e9 2024.96 Ripple USD
optimism op 0.312 1.9e9 2022.42 Optimism
blockstack stx 0.312 1.82e9 2019.82 Stacks
curve-dao-token crv 0.385 1.42e9 2020.62 Curve DAO
pudgy-penguins pengu 0.0109 62.8e9 2024.96 Pudgy Penguins
fetch-ai fet 0.253 2.3e9 2019.16 Artificial Superintelligence Alliance
mantle-staked-ether meth 3391 210e3 2023.9 Mantle Staked Ether
spx6900 spx 0.61 931e6 2023.7 SPX6900
injective-protocol inj 5.7 100e6 2020.8 Injective
celestia tia 0.62 850e6 2023.83 Celestia
lido-dao ldo 0.63 890e6 2021.0 Lido DAO
first-digital-usd fdusd 1 920e6 2023.57 First Digital USD
aerodrome-finance aero 0.64 905e6 2023.7 Aerodrome Finance
morpho morpho 1.42 380e6 2024.9 Morpho
dash dash 46.5 12.5e6 2014.1 Dash
immutable-x imx 0.272 1.96e9 2021.86 Immutable
floki floki 0.0000472 9.6e12 2021.55 FLOKI
starknet strk 0.112 4.6e9 2024.14 Starknet
sky sky 0.0508 23.4e9 2024.73 Sky
the-graph grt 0.0487 10.6e9 2020.96 The Graph
virtual-protocol virtual 0.78 656e6 2024.2 Virtuals Protocol
kaia kaia 0.0815 6e9 2019.6 Kaia
ether-fi ethfi 0.72 640e6 2024.21 Ether.fi
theta-token theta 0.43 1e9 2018.05 Theta Network
conflux-token cfx 0.081 5.1e9 2020.8 Conflux
iota iota 0.103 4.2e9 2017.45 IOTA
bitcoin-cash-sv bsv 21.5 19.9e6 2018.88 Bitcoin SV
binance-peg-weth weth 3148 605e3 2021.3 Binance-Peg WETH
tezos xtz 0.478 1.06e9 2018.5 Tezos
ethereum-name-service ens 11.2 36e6 2021.86 Ethereum Name Service
dogwifcoin wif 0.365 998e6 2023.95 dogwifhat
raydium ray 1.12 268e6 2021.15 Raydium
the-sandbox sand 0.153 2.6e9 2020.62 The Sandbox
gala gala 0.0073 46.5e9 2020.71 GALA
frax frax 1 320e6 2020.98 Legacy Frax Dollar
bittorrent btt 4.1e-7 986e12 2022.05 BitTorrent
pyth-network pyth 0.073 5.75e9 2023.88 Pyth Network
kinetic-finance-sflr sflr 0.0247 16.2e9 2024.3 Staked FLR
decentraland mana 0.163 1.92e9 2017.8 Decentraland
helium hnt 2.1 186e6 2020.6 Helium
telcoin tel 0.0041 93e9 2018.05 Telcoin
jasmycoin jasmy 0.0077 49.4e9 2021.1 JasmyCoin
true-usd tusd 0.9985 494e6 2018.2 TrueUSD
eos eos 0.232 1.6e9 2017.5 EOS
flow flow 0.231 1.62e9 2021.08 Flow
neo neo 4.6 70.5e6 2016.7 NEO
axie-infinity axs 1.05 168e6 2020.85 Axie Infinity
havven snx 0.56 343e6 2018.2 Synthetix
compound-governance-token comp 32.5 9.6e6 2020.46 Compound
apecoin ape 0.252 753e6 2022.21 ApeCoin
elrond-erd-2 egld 8.3 28.8e6 2020.67 MultiversX
pendle pendle 2.3 165e6 2021.33 Pendle
dydx-chain dydx 0.217 800e6 2023.8 dYdX
wormhole w 0.0435 5e9 2024.25 Wormhole
sonic-3 s 0.108 2.9e9 2025.0 Sonic
based-brett brett 0.0178 9.9e9 2024.15 Brett
chiliz chz 0.0335 9.9e9 2019.5 Chiliz
zksync zk 0.0374 8.8e9 2024.46 ZKsync
thorchain rune 0.71 351e6 2019.55 THORChain
beam-2 beam 0.0036 51e9 2023.8 Beam
mina-protocol mina 0.083 1.26e9 2021.42 Mina Protocol
layerzero zro 1.35 142e6 2024.47 LayerZero
arweave ar 3.9 65.5e6 2020.35 Arweave
ecash xec 0.0000128 19.9e12 2021.5 eCash
gmx gmx 9.1 10.3e6 2021.7 GMX
1inch 1inch 0.187 1.4e9 2020.98 1inch
popcat popcat 0.109 980e6 2023.95 Popcat
safepal sfp 0.33 500e6 2021.1 SafePal
ronin ron 0.216 720e6 2022.08 Ronin
akash-network akt 0.58 285e6 2020.8 Akash Network
fartcoin fartcoin 0.31 1e9 2024.8 Fartcoin
basic-attention-token bat 0.25 1.49e9 2017.42 Basic Attention
mog-coin mog 3.3e-7 390e12 2023.6 Mog Coin
turbo turbo 0.0021 69e9 2023.36 Turbo
cat-in-a-dogs-world mew 0.00138 88.9e9 2024.23 cat in a dogs world
trust-wallet-token twt 1.02 417e6 2020.35 Trust Wallet
zilliqa zil 0.0062 19.4e9 2018.1 Zilliqa
qtum qtum 1.52 105.8e6 2017.4 Qtum
superfarm super 0.262 637e6 2021.16 SuperVerse
notcoin not 0.00071 99e9 2024.37 Notcoin
ravencoin rvn 0.0075 15.7e9 2018.35 Ravencoin
astar astr 0.0142 8.1e9 2022.05 Astar
loopring lrc 0.064 1.37e9 2017.85 Loopring
0x zrx 0.147 848e6 2017.62 0x Protocol
celo celo 0.164 590e6 2020.4 Celo
holotoken hot 0.00061 177e9 2018.33 Holo
harmony one 0.0062 14.7e9 2019.42 Harmony
dexe dexe 6.4 57e6 2020.75 DeXe
livepeer lpt 4.3 47e6 2018.98 Livepeer
ankr ankr 0.0081 10e9 2019.18 Ankr Network
golem glm 0.221 1e9 2016.88 Golem
oasis-network rose 0.0166 7.5e9 2020.88 Oasis
woo-network woo 0.028 1.9e9 2020.83 WOO
iotex iotx 0.0091 9.44e9 2018.4 IoTeX
kusama ksm 9.6 17.5e6 2019.95 Kusama
enjincoin enj 0.034 1.9e9 2017.86 Enjin Coin
ssv-network ssv 4.6 14.3e6 2021.8 SSV Network
frax-share fxs 1.05 90e6 2020.98 Frax (prev. FXS)
convex-finance cvx 1.95 81e6 2021.38 Convex Finance
yearn-finance yfi 4150 33.9e3 2020.55 yearn.finance
ethereum-pow-iou ethw 0.71 107.8e6 2022.6 EthereumPoW
siacoin sc 0.0019 57e9 2015.65 Siacoin
blur blur 0.038 2.7e9 2023.12 Blur
osmosis osmo 0.088 760e6 2021.48 Osmosis
gnosis gno 118 2.64e6 2017.4 Gnosis
audius audio 0.031 1.37e9 2020.82 Audius
status snt 0.0161 4.76e9 2017.47 Status
mask-network mask 0.68 100e6 2021.15 Mask Network
digibyte dgb 0.0071 17.9e9 2014.1 DigiByte
threshold-network-token t 0.0117 11e9 2022.08 Threshold Network
amp-token amp 0.0023 84e9 2020.7 Amp
sushi sushi 0.36 288e6 2020.66 Sushi
binance-usd busd 1 57e6 2019.75 BUSD
origintrail trac 0.51 447e6 2018.1 OriginTrail
waves waves 0.76 117e6 2016.45 Waves
numeraire nmr 10.8 7.2e6 2017.5 Numeraire
skale skl 0.0131 5.9e9 2020.92 SKALE
band-protocol band 0.41 167e6 2019.72 Band
ocean-protocol ocean 0.28 200e6 2019.35 Ocean Protocol
memecoin-2 meme 0.00148 43e9 2023.84 Memecoin
icon icx 0.068 1.08e9 2017.83 ICON
stepn gmt 0.0196 3.1e9 2022.19 GMT
balancer bal 0.79 64.8e6 2020.48 Balancer
ontology ont 0.071 920e6 2018.2 Ontology
vethor-token vtho 0.00121 94e9 2018.6 VeThor
biconomy bico 0.056 1e9 2021.92 Biconomy
singularitynet agix 0.101 440e6 2018.1 SingularityNET
space-id id 0.084 430e6 2023.22 SPACE ID
magic magic 0.121 309e6 2021.75 Treasure
wemix-token wemix 0.44 461e6 2020.83 WEMIX
decred dcr 23.5 17.1e6 2016.15 Decred
metis-token metis 7.1 7.2e6 2021.35 Metis
moonbeam glmr 0.036 1.05e9 2022.05 Moonbeam
lisk lsk 0.201 213e6 2016.4 Lisk
api3 api3 0.58 86e6 2020.92 API3
coti coti 0.031 2.4e9 2019.46 COTI
dogelon-mars elon 6.1e-8 549e12 2021.32 Dogelon Mars
baby-doge-coin babydoge 7.6e-10 152e15 2021.45 Baby Doge Coin
usdd usdd 0.9997 510e6 2022.35 USDD
cartesi ctsi 0.046 890e6 2020.3 Cartesi
ordinals ordi 4.8 21e6 2023.35 ORDI
sats-ordinals sats 1.9e-8 2.1e15 2023.7 SATS (Ordinals)
illuvium ilv 8.9 9.1e6 2021.25 Illuvium
zencash zen 9.8 17e6 2017.45 Horizen
escoin-token elg 0.12 110e6 2019.95 Escoin
coq-inu coq 4.6e-7 69.4e12 2023.95 Coq Inu
storj storj 0.169 410e6 2017.5 Storj
request-network req 0.118 830e6 2017.8 Request
uma uma 0.92 89e6 2020.34 UMA
celer-network celr 0.0052 7.8e9 2019.23 Celer Network
nervos-network ckb 0.0028 47.5e9 2019.9 Nervos Network
dent dent 0.00042 95.6e9 2017.62 Dent
power-ledger powr 0.104 550e6 2017.85 Powerledger
chromaway chr 0.058 850e6 2020.35 Chromia
aragon ant 6.1 39e6 2017.38 Aragon
civic cvc 0.053 802e6 2017.55 Civic
orbs orbs 0.0113 4.7e9 2019.25 Orbs
wax waxp 0.0138 4.3e9 2018.0 WAX
spell-token spell 0.00031 166e9 2021.4 Spell
myro myro 0.0141 944e6 2023.85 Myro
kava kava 0.113 1.08e9 2019.82 Kava
radicle rad 0.42 52e6 2021.15 Radworks
gods-unchained gods 0.066 400e6 2021.83 Gods Unchained
hashflow hft 0.037 650e6 2022.85 Hashflow
stargate-finance stg 0.142 204e6 2022.21 Stargate Finance
synapse-2 syn 0.071 200e6 2021.65 Synapse
bluzelle blz 0.036 465e6 2018.1 Bluzelle
perpetual-protocol perp 0.21 72e6 2020.7 Perpetual Protocol
dodo dodo 0.031 725e6 2020.75 DODO
badger-dao badger 0.71 20.5e6 2020.92 Badger
aleph aleph 0.043 300e6 2020.55 Aleph.im
my-neighbor-alice alice 0.31 92e6 2021.2 My Neighbor Alice
mobox mbox 0.038 500e6 2021.3 Mobox
rss3 rss3 0.026 760e6 2022.1 RSS3
alchemix alcx 8.1 2.4e6 2021.16 Alchemix
verge xvg 0.0057 16.5e9 2014.8 Verge
nano xno 0.76 133e6 2017.3 Nano
steem steem 0.081 530e6 2016.35 Steem
hive hive 0.115 490e6 2020.23 Hive
vulcan-forged pyr 0.83 37e6 2021.28 Vulcan Forged
komodo kmd 0.033 141e6 2017.05 Komodo
syscoin sys 0.021 835e6 2014.65 Syscoin
bancor bnt 0.51 112e6 2017.45 Bancor Network
ardor ardr 0.061 999e6 2016.6 Ardor
stratis strax 0.021 2.1e9 2020.85 Stratis
venus xvs 3.9 16.7e6 2020.77 Venus
alpha-finance alpha 0.0081 950e6 2020.77 Stella
loom-network-new loom 0.0079 1.24e9 2021.0 Loom Network (NEW)
moonriver movr 3.3 12e6 2021.66 Moonriver
polymath poly 0.034 925e6 2018.1 Polymath
gas gas 2.2 65e6 2017.5 Gas
xyo-network xyo 0.0084 13.9e9 2018.4 XYO Network
bakerytoken bake 0.031 290e6 2020.75 BakerySwap
tellor trb 21.5 2.6e6 2019.95 Tellor Tributes
iexec-rlc rlc 0.69 72.4e6 2017.3 iExec RLC
electroneum etn 0.0021 17.9e9 2017.85 Electroneum
vertcoin vtc 0.051 74e6 2014.1 Vertcoin
reef reef 0.00031 42e9 2020.98 Reef
keep3rv1 kp3r 3.4 420e3 2020.83 Keep3rV1
concierge-io ava 0.36 69e6 2019.3 AVA
metal mtl 0.41 81e6 2017.5 Metal DAO
tokamak-network ton 0.71 51e6 2020.65 Tokamak Network
adventure-gold agld 0.37 82e6 2021.67 Adventure Gold
auction auction 5.9 6.6e6 2021.15 Bounce
fio-protocol fio 0.0131 820e6 2020.3 FIO Protocol
pha pha 0.042 800e6 2020.75 Phala
hooked-protocol hook 0.049 300e6 2022.92 Hooked Protocol
gifto gft 0.0042 2e9 2017.97 Gifto
beefy-finance bifi 141 80e3 2020.8 Beefy
district0x dnt 0.0122 1e9 2017.6 district0x
ark ark 0.29 190e6 2017.25 ARK
zcoin firo 1.9 17.4e6 2016.8 Firo
pundi-x-2 pundix 0.24 258e6 2021.25 Pundi X
augur rep 1.02 11e6 2015.8 Augur
bitcoin-gold btg 0.72 17.5e6 2017.85 Bitcoin Gold
"""

# As above, in no order: namesakes, jokes and imitators.
SMALL = """
dogechain dc 0.000042 110e9 2022.65 Dogechain
dogebonk dobo 1.1e-11 350e15 2021.8 DogeBonk
buff-doge-coin dogecoin 2.1e-10 9e15 2021.8 Buff Doge Coin
leash leash 71 106e3 2020.75 Doge Killer
babydoge-coin-eth babydoge 1.3e-10 40e15 2022.9 Baby Doge Coin on ETH
arbdoge-ai aidoge 8.2e-11 180e15 2023.3 ArbDoge AI
doge-on-pulsechain doge 0.0061 9e6 2023.5 Doge on Pulsechain
dogswap-token dog 0.000021 4e6 2021.5 Dogeswap (HECO)
doge-1 doge1 0.0000011 1e9 2022.1 Doge-1
doge-1-mission-to-the-moon doge-1 0.00000041 2e9 2022.3 Doge-1 Mission to the moon
the-doge-nft dog 0.00031 16.9e9 2021.68 The Doge NFT
dog-go-to-the-moon-rune dog 0.00134 100e9 2024.31 Dog (Bitcoin)
batcat btc 0.0000041 1e9 2024.05 batcat
bitcoin-on-sol btc 0.0000009 1e9 2023.97 Bitcoin on SOL
-2 ₿ 0.0000027 21e6 2023.1 ₿
newpepe pepe 1.4e-9 42e12 2023.4 NEWPEPE
pepebrc pepe 0.00014 42e6 2023.4 PEPE (Ordinals)
pepe-token pepe 0.0000031 12e9 2023.9 Pepe Token
pepe-on-solana pepe 8.1e-7 1e9 2024.02 Pepe on Solana
babypepe-2 babypepe 2.2e-10 420e12 2023.4 Babypepe
pepecoin-2 pepecoin 0.18 133e6 2023.4 PepeCoin
stox stx 0.0019 51e6 2017.6 Stox
unicorn-token uni 0.000021 4e6 2021.2 UNICORN
unilapse uni 0.0000034 9e6 2023.7 UNILAPSE
ape-2 ape 2.1e-8 1e12 2022.3 APE
zilstream stream 0.0082 4e6 2021.6 ZilStream
batch-token batch 0.00061 12e6 2022.8 Batch Token
top-network top 0.000092 14e9 2019.3 TOP Network
betbuinu crypto 0.0000013 7e9 2022.9 BetbuInu
"""

# Issued on another chain or backed by something else: priced as the original. No rank.
FOLLOWERS = """
bridged-wrapped-ether-starkgate eth ethereum 1 62e3 2023.9 Bridged Ether (StarkGate)
bridged-wrapped-bitcoin-starkgate wbtc bitcoin 0.999 410 2023.9 Bridged Wrapped Bitcoin (StarkGate)
bitcoin-avalanche-bridged-btc-b btc.b bitcoin 0.9995 5.1e3 2022.5 Bitcoin Avalanche Bridged (BTC.b)
ethereum-wormhole eth ethereum 0.9994 11e3 2021.9 Ethereum (Wormhole)
osmosis-allbtc btc bitcoin 0.9991 312 2024.8 Osmosis allBTC
binance-bitcoin btcb bitcoin 1.0003 65e3 2020.3 Binance Bitcoin
bridged-tether-starkgate usdt tether 0.9998 9.1e6 2023.6 Bridged Tether (StarkGate)
polygon-bridged-usdt-polygon usdt tether 1 811e6 2021.2 Polygon Bridged USDT (Polygon)
bridged-usd-coin-base usdbc usd-coin 1 15e6 2023.6 Bridged USD Coin (Base)
binance-peg-dogecoin doge dogecoin 0.999 29e6 2021.3 Binance-Peg Dogecoin
binance-peg-xrp xrp ripple 0.9997 81e6 2020.8 Binance-Peg XRP
wrapped-solana sol solana 1 9.1e6 2021.3 Wrapped SOL
sol-wormhole sol solana 0.9996 41e3 2021.8 SOL (Wormhole)
dogelon-mars-wormhole elon dogelon-mars 0.998 1.1e9 2022.1 Dogelon Mars (Wormhole)
apple-xstock aaplx AAPL 1.0008 31e3 2025.5 Apple xStock
tesla-xstock tslax TSLA 1.0011 92e3 2025.5 Tesla xStock
nvidia-xstock nvdax NVDA 1.0005 77e3 2025.5 NVIDIA xStock
apple-tokenized-stock-defichain aapl AAPL 0.997 2.4e3 2022.05 Apple Tokenized Stock Defichain
dinari-aapl aapl AAPL 1.0002 1.2e3 2024.6 Apple - Dinari
tesla-tokenized-stock-defichain tsla TSLA 0.996 1.9e3 2022.05 Tesla Tokenized Stock Defichain
"""
