from phasic_models.cloud_cache import download_from_github_release

download_from_github_release(
    repo='munch-group/phasic-models',
    tag='v1.0.0',
    asset_name='coalescent_models_v1.0.0.tar.gz',
    extract_to='~/.phasic_cache/symbolic',
    verify_checksum='a3f2e9c8...'  # Optional but recommended
)
