from phasic_models.cloud_cache import install_model_library

# Install official coalescent models
install_model_library('coalescent')

# Models are now cached and ready to use instantly!
