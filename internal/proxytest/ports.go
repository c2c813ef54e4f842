package proxytest

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// Free ports are taken in turn from below those that systems give to outgoing connections,
// any of which might otherwise get a port between FreeAddr and the listener it is for.
//
// Caddy's listeners share ports, so that nobody would notice if two of them got the same. So each
// test process takes its ports from blocks that it has for itself while it runs.
const (
	firstFreePort = 11_000 // above all that are detected as HTTPS
	portsInBlock  = 500
	portBlocks    = 43 // up to port 32,499
)

var ports portTurns

// blocksEach is how many blocks a process takes. After that its ports have their turns again,
// when nothing has listened on them for long.
const blocksEach = 4

// portTurns gives out the ports of the blocks that this process has.
type portTurns struct {
	mu     sync.Mutex
	blocks []*os.File // which lock them; the system unlocks them when the process ends
	free   []int      // ports that have not been given out
	given  []int      // those that have, the oldest first
}

// nextPort returns the port whose turn it is.
func nextPort() int {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if len(ports.free) == 0 {
		ports.refill()
	}
	port := ports.free[0]
	ports.free, ports.given = ports.free[1:], append(ports.given, port)
	return port
}

func (p *portTurns) refill() {
	switch {
	case len(p.blocks) < blocksEach && p.takeBlock():
	case len(p.given) > 0:
		p.free, p.given = p.given, nil
	default: // others have all blocks
		p.addBlock(rand.IntN(portBlocks))
	}
}

// takeBlock takes a block that no other test process has.
func (p *portTurns) takeBlock() bool {
	start := rand.IntN(portBlocks)
	for i := range portBlocks {
		block := (start + i) % portBlocks
		path := filepath.Join(os.TempDir(), "proxyos-test-ports-"+strconv.Itoa(firstFreePort+block*portsInBlock))
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			continue // another user's
		}
		if !lock(file) {
			_ = file.Close()
			continue
		}
		p.blocks = append(p.blocks, file)
		p.addBlock(block)
		return true
	}
	return false
}

func (p *portTurns) addBlock(block int) {
	for i := range portsInBlock {
		p.free = append(p.free, firstFreePort+block*portsInBlock+i)
	}
}
