// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

// match reports whether a path is one that a pattern stands for: "*" stands for
// any characters but "/", "**" for any characters at all, "?" for one character
// but "/".
func match(pattern, path string) bool { return glob(pattern, path, '/') }

// matchText does the same where "/" means nothing: "*" and "?" stand for it too.
func matchText(pattern, text string) bool { return glob(pattern, text, -1) }

// glob takes time in proportion to the product of the lengths: it goes back to
// the last star of each sort only.
func glob(pattern, s string, separator int) bool {
	p, i := 0, 0
	starP, starI := -1, 0 // after "*", and what it has taken so far
	deepP, deepI := -1, 0 // the same for "**"
	for {
		switch {
		case p+1 < len(pattern) && pattern[p] == '*' && pattern[p+1] == '*':
			p += 2
			deepP, deepI = p, i
			starP = -1
			continue
		case p < len(pattern) && pattern[p] == '*':
			p++
			starP, starI = p, i
			continue
		case i == len(s):
			if p == len(pattern) {
				return true
			}
		case p < len(pattern) && (pattern[p] == s[i] || pattern[p] == '?' && int(s[i]) != separator):
			p++
			i++
			continue
		}
		switch {
		case starP >= 0 && starI < len(s) && int(s[starI]) != separator:
			starI++
			p, i = starP, starI
		case deepP >= 0 && deepI < len(s):
			deepI++
			p, i = deepP, deepI
			starP = -1
		default:
			return false
		}
	}
}
