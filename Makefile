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

test: $(VENV)/ready
	$(RUN) -m pytest -q --durations=15 tests

# The mark is made last, so that an installation cut short is begun again.
$(VENV)/ready: requirements.txt utils/make_venv.py
	$(PYTHON) utils/make_venv.py $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO)
