# `make demo`: from nothing to a film and a report.  `make test`: the tests.  Needs only Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
RUN = $(VENV)/bin/python

.PHONY: demo test clean

demo: $(VENV)/ready
	$(RUN) train.py --config configs/demo.yaml --out $(DEMO)/run
	$(RUN) generate.py --checkpoint $(DEMO)/run --output $(DEMO)/film.mp4 --num_frames 240 --fps 24 --grid 2x4
	$(RUN) evaluate.py --checkpoint $(DEMO)/run --metrics swd --output $(DEMO)/evaluation
	@echo
	@echo "film      $(DEMO)/film.mp4"
	@echo "report    $(DEMO)/run/report.html"
	@echo "numbers   $(DEMO)/evaluation/metrics.json"

# A worker for each core, but few enough for the memory of a laptop; a file stays with one worker, and with it what its tests share.
test: $(VENV)/ready
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n auto --maxprocesses 4 --dist loadfile --durations=15 tests

# The mark is made last, so that an installation cut short is begun again.
$(VENV)/ready: requirements.txt utils/make_venv.py
	$(PYTHON) utils/make_venv.py $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO)
