"""Tests of the pages, mirroring `stalwart/web/pages`."""
