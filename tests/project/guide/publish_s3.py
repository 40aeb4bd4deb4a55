from phasic_models.cloud_cache import S3Backend

backend = S3Backend(
    bucket_name='phasic-models',
    prefix='v1.0.0/'
)

backend.upload_cache(
    local_cache_dir='coalescent_models',
    remote_prefix='coalescent/'
)
