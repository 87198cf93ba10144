"""What every room may use: threads, metrics and log output. Nothing here knows about mail or HTTP."""
