"""Faults, and what the product does under them. docs/reliability.md has the figures.

make chaos                               every scenario on both servers, about 45 minutes
make chaos ONLY=T2 SERVER=uvicorn        one of them
make chaos CHAOS_SCALE=full              as long and as large as the table says
"""
