"""Data sets larger than a disk, as tar files in the WebDataset convention.

writing, folder   `hswish shard`
scan, index       what lies where
store             reading it; of files on the web by `cache` and `fetch_ahead`
"""
