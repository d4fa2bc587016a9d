"""TradingView's UDF, which its charting library's own adapter speaks, at /api/udf.

shapes.py is what is said, instruments.py says what an asset is to a chart, asking.py
reads what is asked, and views.py answers it.
"""
