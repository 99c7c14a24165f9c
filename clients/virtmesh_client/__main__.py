"""`python -m virtmesh_client` is `virtmesh`."""

from virtmesh_client.cli import main

if __name__ == "__main__":
    main()
