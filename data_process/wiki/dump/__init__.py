"""Reading MediaWiki dumps: their bytes, pages and parts."""
