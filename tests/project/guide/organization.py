from phasic_models.symbolic_cache import SymbolicCache
from phasic_models.cloud_cache import S3Backend

# Build and cache organization-specific models
cache = SymbolicCache()

# Export to S3
backend = S3Backend(
    bucket_name='my-org-models',
    prefix='phasic/',
    profile='my-aws-profile'
)

backend.upload_cache(
    local_cache_dir=cache.cache_dir,
    remote_prefix='symbolic/'
)

# Team members download:
backend.download_cache(
    local_cache_dir='~/.phasic_cache/symbolic'
)
