import json

# Create detailed metadata for each model
for model_name, hash_key in models:
    meta = {
        'model_name': model_name,
        'description': f'Coalescent model: {model_name}',
        'phasic_version': '0.21.3',
        'created': '2025-10-13T10:30:00Z',
        'graph_hash': hash_key,
        # ... add more details
    }

    meta_file = f'coalescent_models/{hash_key}.meta'
    with open(meta_file, 'w') as f:
        json.dump(meta, f, indent=2)
