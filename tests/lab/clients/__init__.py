"""Client libraries as the shared suite, `lab.test_clients`, uses them: a file each, with `CLIENTS` in it."""
