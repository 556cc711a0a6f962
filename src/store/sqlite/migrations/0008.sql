-- The key's own index is in the order of ids, which is that of time: a list of all walks it.
DROP INDEX jobs_newest;
DROP INDEX history_newest;
