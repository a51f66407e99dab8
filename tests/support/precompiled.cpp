// Empty on purpose: CMake makes a precompiled header only for a target with a source that uses it,
// and main.cpp must not (Catch2's main is chosen by a macro before its header).
