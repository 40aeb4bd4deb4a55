# Export to organized directory
cache.export_library(
    output_dir='coalescent_models',
    hash_keys=[h for _, h in models]
)

# Directory structure:
# coalescent_models/
# ├── a3f2e9c8....json
# ├── a3f2e9c8....meta
# ├── f8d7c6a5....json
# ├── f8d7c6a5....meta
# └── manifest.json
