package proxyos

import "sync"

// memory is what this process knows of the stored document. The running config shares it with
// the one that replaces it.
type memory struct {
	mu         sync.Mutex // held while a document is put in force
	generation uint64     // grows with each document that differs from the one before
	raw        []byte     // the latest document as it is stored; nil if this process has seen none
	doc        document
	aside      []byte          // the latest damaged document that was set aside
	reported   map[string]bool // what is wrong with the storage and logged
	changes    changeLog       // with a lock of its own
}

func newMemory() *memory { return &memory{reported: make(map[string]bool)} }

// latest returns the latest document, which must not be changed, and its generation.
func (m *memory) latest() (doc document, raw []byte, generation uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.doc, m.raw, m.generation
}
