"""What lies on disk, and the objects that know it: a data set, a run, an ensemble, a submission."""
