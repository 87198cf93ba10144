"""The `stalwart` admin command. It works beside the running daemon."""
