"""The models that this project trained; `python -m zoo` keeps the folder."""
