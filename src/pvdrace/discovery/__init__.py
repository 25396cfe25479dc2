"""Which provisioning domains exist? One file per source; `merge` makes them one set."""
