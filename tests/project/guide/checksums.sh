sha256sum *.tar.gz > SHA256SUMS
