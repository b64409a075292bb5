"""How many machines a load needs: simulates queues of measured service times. Imports benching and reporting."""
