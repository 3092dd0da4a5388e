"""Tables and what they are made from: Trace (raw), Profile (one row a layer), the bundle on disk."""
