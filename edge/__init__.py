"""What stands beside Envoy: its configuration, development tokens, the API description and its page."""
