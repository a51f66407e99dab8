#!/usr/bin/env bash
# Runs both test suites, the second whatever the first says, and ends with their summary lines.
. "$(dirname "$0")/common.sh"

logs=build/logs
mkdir -p $logs
status=0
step "C++ tests"
ctest --test-dir build/release --output-on-failure -j2 2>&1 | tee $logs/ctest.log || status=1
step "Python tests"
# Two files at a time: many tests wait for a process of their own.
OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} PATH=$root/.venv/bin:$PATH \
  .venv/bin/pytest tests/python -q -n 2 --dist loadfile 2>&1 | tee $logs/pytest.log || status=1

echo
echo "ctest:  $(grep -E 'tests (passed|failed)|No tests were found' $logs/ctest.log | tail -n 1)"
echo "pytest: $(tail -n 1 $logs/pytest.log)"
exit $status
