"""The schema's history, one revision per file. Run by `stalwart.store.migrate`."""
