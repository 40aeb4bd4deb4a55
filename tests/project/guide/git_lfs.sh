# Install Git LFS
git lfs install

# Track large files
git lfs track "*.json"
git lfs track "*.tar.gz"

# Add and commit
git add .gitattributes coalescent/
git commit -m "Add coalescent models"
git push
