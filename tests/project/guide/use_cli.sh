# Install official library
ptd-cache install coalescent

# Import from URL
ptd-cache import https://example.com/models/coalescent_v1.tar.gz --symbolic

# Import from file
ptd-cache import downloaded_models.tar.gz --symbolic
