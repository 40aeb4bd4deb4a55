# Create tarball
cd coalescent_models
tar -czf ../coalescent_models_v1.0.0.tar.gz .

# Compute checksum
sha256sum coalescent_models_v1.0.0.tar.gz > coalescent_models_v1.0.0.tar.gz.sha256
