"""Reading a MediaWiki dump: streams, pages, parts."""
