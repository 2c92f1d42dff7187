//! Overload control: a node that knows its critical region, leaves, recovers and rejoins
