"""Watchlists: the made-up service of tests/integration/system/test_fourth_service.py."""
