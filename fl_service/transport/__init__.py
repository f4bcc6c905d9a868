"""How processes and pods of a run talk: calls over gRPC streams that children open to their parents, mutual TLS always.

`wire` turns Flower's records into chunks and back, `liveness` decides who is late, back or lost, `peer` makes calls
that outlive a broken stream, `hub` is the parent's end and `link` the child's.
"""
