"""What cannot be derived from a release: jobs, ad-hoc scans and people's labels, in the schema `app`."""
