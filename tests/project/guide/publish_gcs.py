from phasic_models.cloud_cache import GCSBackend

backend = GCSBackend(
    bucket_name='phasic-models',
    prefix='v1.0.0/'
)

backend.upload_cache(
    local_cache_dir='coalescent_models',
    remote_prefix='coalescent/'
)
