"""Archives, conda packages and channels, and the release that is made of them."""
