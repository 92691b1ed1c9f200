package synthetic

// store is an object kept in memory.
type store struct{}
