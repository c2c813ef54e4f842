package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of /proc/<pid>/stat, the same on every Linux.
const ticksPerSecond = 100

// procStat is one process as /proc sees it; the times cover all of its threads.
type procStat struct {
	parent int
	cpu    time.Duration
}

func readProcStat(pid int) (procStat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	return parseProcStat(data)
}

// parseProcStat reads the fields after the name, which may hold spaces and parentheses.
func parseProcStat(data []byte) (procStat, error) {
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 13 {
		return procStat{}, fmt.Errorf("not a stat file: %q", data)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return procStat{}, err
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return procStat{}, err
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		return procStat{}, err
	}
	return procStat{parent: parent, cpu: time.Duration(user+system) * time.Second / ticksPerSecond}, nil
}

// family returns a process and its descendants, such as nginx's workers.
func family(pid int) []int {
	children := make(map[int][]int)
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		id, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if stat, err := readProcStat(id); err == nil {
			children[stat.parent] = append(children[stat.parent], id)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// cpuTime returns the processor time that processes have used so far.
func cpuTime(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		stat, err := readProcStat(pid)
		if err != nil {
			return 0, fmt.Errorf("a proxy process has ended: %w", err)
		}
		sum += stat.cpu
	}
	return sum, nil
}

// residentMemory returns the bytes of memory that processes hold: the sum of their proportional
// set sizes, which counts shared memory once.
func residentMemory(pids []int) (int, error) {
	sum := 0
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		kibibytes, err := parseProportional(data)
		if err != nil {
			return 0, err
		}
		sum += kibibytes << 10
	}
	return sum, nil
}

// parseProportional reads the line of smaps_rollup that begins with "Pss:", in KiB.
func parseProportional(data []byte) (int, error) {
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
		}
	}
	return 0, fmt.Errorf("not a smaps_rollup file: %q", data)
}

// openFiles returns how many file descriptors a process has open.
func openFiles(pid int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries), err
}
