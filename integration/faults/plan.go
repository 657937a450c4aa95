// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"hash/fnv"
	"math/rand/v2"
	"regexp"
	"slices"
)

// injection is one fault to be injected.
type injection struct {
	fault *fault
	// round counts the injections of the same fault, from 1.
	round int
}

// plan puts the faults whose names match in the order of injection: so many rounds of each, shuffled, but all that
// need the same surroundings one after the other.
func plan(faults []*fault, only *regexp.Regexp, short bool, rounds int, seed uint64) []injection {
	groups := map[surroundings][]injection{}
	for _, f := range faults {
		if (only != nil && !only.MatchString(f.name)) || (short && !f.short) {
			continue
		}
		for round := range rounds {
			groups[f.in] = append(groups[f.in], injection{f, round + 1})
		}
	}
	var all []injection
	shuffle := rand.New(rand.NewPCG(seed, 0))
	for _, in := range []surroundings{plain, impatient, narrow} {
		group := groups[in]
		shuffle.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
		// The rounds of one fault keep their order, so that a line of the log says how often it went well before.
		next := map[*fault]int{}
		for i := range group {
			next[group[i].fault]++
			group[i].round = next[group[i].fault]
		}
		all = append(all, group...)
	}
	return slices.Clip(all)
}

// dice are those of one injection.
func dice(seed uint64, name string, round int) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()+uint64(round)))
}
